# The bucket of the cold store on Google Cloud: object retention without a retention policy of the bucket, soft delete,
# encryption by a key of its own, no public access, lifecycle to a colder class, and a role for each of the logins that
# docs/cold-storage.md names.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }
}

locals {
  role_prefix = replace(replace(var.bucket, "-", "_"), ".", "_")
  parts       = "${var.prefix == "" ? "" : "${var.prefix}/"}audit-archives/"
}

data "google_storage_project_service_account" "storage" {
  project = var.project
}

resource "google_kms_key_ring" "cold" {
  project  = var.project
  name     = var.bucket
  location = coalesce(var.key_location, lower(var.location))
}

resource "google_kms_crypto_key" "cold" {
  name            = "archives"
  key_ring        = google_kms_key_ring.cold.id
  rotation_period = "7776000s"

  # Without the key seven years of archives cannot be read.
  lifecycle {
    prevent_destroy = true
  }
}

# Wraps the key of each archive. Apart from the key of the bucket, so that who may read the bucket reads no archive.
resource "google_kms_crypto_key" "archives" {
  name            = "keys-of-archives"
  key_ring        = google_kms_key_ring.cold.id
  rotation_period = "7776000s"

  # Without the key seven years of archives cannot be read.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "archivers" {
  for_each      = toset(var.archivers)
  crypto_key_id = google_kms_crypto_key.archives.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}

resource "google_kms_crypto_key_iam_member" "auditors" {
  for_each      = toset(var.auditors)
  crypto_key_id = google_kms_crypto_key.archives.id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = each.value
}

resource "google_kms_crypto_key_iam_member" "storage" {
  crypto_key_id = google_kms_crypto_key.cold.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.storage.email_address}"
}

# There is no retention_policy and no default_event_based_hold on purpose: both would lock the newest checkpoint and
# partial tiles, and sealing would stop. Each archive is locked by its own date.
resource "google_storage_bucket" "cold" {
  #checkov:skip=CKV_GCP_78: without versions a locked object can be neither deleted nor hidden behind a newer one
  project                     = var.project
  name                        = var.bucket
  location                    = var.location
  enable_object_retention     = true
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = false
  }

  # What is deleted by mistake can be had back; what is erased on purpose is gone after these days.
  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 86400
  }

  encryption {
    default_kms_key_name = google_kms_crypto_key.cold.id
  }

  # Parts alone: manifests and the log are small and are read all the time.
  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = var.colder_class
    }

    condition {
      age            = var.colder_after_days
      matches_prefix = [local.parts]
      matches_suffix = [".parquet"]
    }
  }

  dynamic "logging" {
    for_each = var.access_log_bucket == null ? [] : [var.access_log_bucket]

    content {
      log_bucket        = logging.value
      log_object_prefix = var.bucket
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_kms_crypto_key_iam_member.storage]
}

# For the pipelines: put, lock, hold, read, and remove what no lock keeps. Not storage.objects.overrideUnlockedRetention.
resource "google_project_iam_custom_role" "archiver" {
  project     = var.project
  role_id     = "${local.role_prefix}_archiver"
  title       = "Archiver of ${var.bucket}"
  description = "The pipelines' rights on the cold store ${var.bucket}"
  permissions = [
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
    "storage.objects.setRetention",
    "storage.objects.update",
  ]
}

# For auditors: read everything, change nothing.
resource "google_project_iam_custom_role" "auditor" {
  project     = var.project
  role_id     = "${local.role_prefix}_auditor"
  title       = "Auditor of ${var.bucket}"
  description = "An auditor's rights on the cold store ${var.bucket}"
  permissions = [
    "storage.buckets.get",
    "storage.objects.get",
    "storage.objects.list",
  ]
}

# For whoever removes archives whose retention has ended, where that is not the pipelines' login.
resource "google_project_iam_custom_role" "expirer" {
  project     = var.project
  role_id     = "${local.role_prefix}_expirer"
  title       = "Expirer of ${var.bucket}"
  description = "The rights on the cold store ${var.bucket} of whoever removes what has expired"
  permissions = [
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
  ]
}

resource "google_storage_bucket_iam_member" "archiver" {
  for_each = toset(var.archivers)
  bucket   = google_storage_bucket.cold.name
  role     = google_project_iam_custom_role.archiver.id
  member   = each.value
}

resource "google_storage_bucket_iam_member" "auditor" {
  for_each = toset(var.auditors)
  bucket   = google_storage_bucket.cold.name
  role     = google_project_iam_custom_role.auditor.id
  member   = each.value
}

resource "google_storage_bucket_iam_member" "expirer" {
  for_each = toset(var.expirers)
  bucket   = google_storage_bucket.cold.name
  role     = google_project_iam_custom_role.expirer.id
  member   = each.value
}
