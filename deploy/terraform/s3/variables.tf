variable "bucket" {
  description = "Name of the bucket; AUDIT_COLD_STORAGE_BUCKET."
  type        = string
}

variable "prefix" {
  description = "What all keys begin with; AUDIT_COLD_STORAGE_PREFIX."
  type        = string
  default     = ""
}

variable "colder_after_days" {
  description = "Days after which parts go to a colder class. Each is read back at least once before: when it is archived."
  type        = number
  default     = 30
}

variable "colder_class" {
  description = "That class. It must be readable at once: the purge reads parts a week after they were archived."
  type        = string
  default     = "STANDARD_IA"

  validation {
    condition     = contains(["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"], var.colder_class)
    error_message = "A class whose objects can be read at once: STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR."
  }
}

variable "access_log_bucket" {
  description = "Bucket for the service's log of accesses; null: none is written."
  type        = string
  default     = null
}
