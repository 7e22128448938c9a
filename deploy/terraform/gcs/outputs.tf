output "settings" {
  description = "The settings of the pipelines for this bucket."
  value = {
    AUDIT_COLD_STORAGE_PROVIDER = "gcs"
    AUDIT_COLD_STORAGE_BUCKET   = google_storage_bucket.cold.name
    AUDIT_COLD_STORAGE_PREFIX   = var.prefix
    AUDIT_COLD_STORAGE_LOCK     = "compliance"
    AUDIT_COLD_STORAGE_KMS_KEY  = google_kms_crypto_key.cold.id
    AUDIT_ARCHIVE_KMS_KEY       = "gcpkms://${google_kms_crypto_key.archives.id}"
    GCP_PROJECT_ID              = var.project
  }
}

output "archiver_role" {
  description = "To be given to the pipelines' login on the bucket."
  value       = google_project_iam_custom_role.archiver.id
}

output "auditor_role" {
  description = "To be given to the auditors' logins on the bucket."
  value       = google_project_iam_custom_role.auditor.id
}

output "expirer_role" {
  description = "To be given to whoever removes what has expired, where that is another login."
  value       = google_project_iam_custom_role.expirer.id
}
