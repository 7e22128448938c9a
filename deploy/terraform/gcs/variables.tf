variable "project" {
  description = "Project of the bucket, its key and the roles; GCP_PROJECT_ID."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket; AUDIT_COLD_STORAGE_BUCKET or GCP_GCS_AUDIT_BUCKET."
  type        = string
}

variable "location" {
  description = "Where in the world the bucket is; GCP_GCS_LOCATION. It cannot be changed."
  type        = string
}

variable "key_location" {
  description = "Where Cloud KMS keeps the key, which must be the same place; null: by the same name. The bucket's EU is europe there."
  type        = string
  default     = null
}

variable "prefix" {
  description = "What all keys begin with; AUDIT_COLD_STORAGE_PREFIX."
  type        = string
  default     = ""
}

variable "soft_delete_days" {
  description = "Days for which what was deleted can be had back. What was replaced counts as deleted, and is paid for so long."
  type        = number
  default     = 7

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "Google allows 7 to 90 days, or 0 for none."
  }
}

variable "colder_after_days" {
  description = "Days after which parts go to a colder class. Each is read back at least once before: when it is archived."
  type        = number
  default     = 30
}

variable "colder_class" {
  description = "That class; the objects of each can be read at once."
  type        = string
  default     = "NEARLINE"

  validation {
    condition     = contains(["NEARLINE", "COLDLINE", "ARCHIVE"], var.colder_class)
    error_message = "One of NEARLINE, COLDLINE, ARCHIVE."
  }
}

variable "access_log_bucket" {
  description = "Bucket for the service's log of accesses; null: none is written, Cloud Audit Logs apart."
  type        = string
  default     = null
}

variable "archivers" {
  description = "Who gets the pipelines' role, as IAM writes it: serviceAccount:... ."
  type        = list(string)
  default     = []
}

variable "auditors" {
  description = "Who gets the auditors' role."
  type        = list(string)
  default     = []
}

variable "expirers" {
  description = "Who gets the role of whoever removes what has expired; the pipelines can, too."
  type        = list(string)
  default     = []
}
