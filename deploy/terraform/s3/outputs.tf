output "settings" {
  description = "The settings of the pipelines for this bucket."
  value = {
    AUDIT_COLD_STORAGE_PROVIDER   = "s3"
    AUDIT_COLD_STORAGE_BUCKET     = aws_s3_bucket.cold.id
    AUDIT_COLD_STORAGE_PREFIX     = var.prefix
    AUDIT_COLD_STORAGE_LOCK       = "compliance"
    AUDIT_COLD_STORAGE_ENCRYPTION = "aws:kms"
    AUDIT_COLD_STORAGE_KMS_KEY    = aws_kms_key.cold.arn
    AUDIT_ARCHIVE_KMS_KEY         = "awskms:///${aws_kms_key.archives.arn}"
    AWS_S3_REGION                 = aws_s3_bucket.cold.region
  }
}

output "archiver_policy_arn" {
  description = "To be attached to the pipelines' role."
  value       = aws_iam_policy.archiver.arn
}

output "expirer_policy_arn" {
  description = "To be attached, too, to the role that runs `compliance expire`: the pipelines', or one of its own."
  value       = aws_iam_policy.expirer.arn
}

output "auditor_policy_arn" {
  description = "To be attached to the auditors' role."
  value       = aws_iam_policy.auditor.arn
}
