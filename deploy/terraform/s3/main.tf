# The bucket of the cold store on AWS: versions, Object Lock without a default retention, encryption by a key of its own,
# no public access, lifecycle to a colder class, a key for the keys of archives, and a policy for each of the roles that
# docs/cold-storage.md names.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60"
    }
  }
}

locals {
  objects = "${aws_s3_bucket.cold.arn}/*"
  below   = "${aws_s3_bucket.cold.arn}/${var.prefix == "" ? "" : "${var.prefix}/"}"

  # What the pipelines replace and remove all the time: the newest checkpoint, partial tiles, records of keys, probes.
  replaced = ["${local.below}audit-ledger/*", "${local.below}audit-keys/*", "${local.below}audit-probe/*"]
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

resource "aws_kms_key" "cold" {
  description             = "Audit archives of ${var.bucket}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json

  # Without the key seven years of archives cannot be read.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "cold" {
  name          = "alias/${var.bucket}"
  target_key_id = aws_kms_key.cold.key_id
}

# Wraps the key of each archive. Apart from the key of the bucket, so that who may read the bucket reads no archive.
resource "aws_kms_key" "archives" {
  description             = "Keys of the audit archives in ${var.bucket}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json

  # Without the key seven years of archives cannot be read.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "archives" {
  name          = "alias/${var.bucket}-archives"
  target_key_id = aws_kms_key.archives.key_id
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109: the policy of a key, whose resource is the key itself
  #checkov:skip=CKV_AWS_111: the policy of a key, whose resource is the key itself
  #checkov:skip=CKV_AWS_356: the policy of a key, whose resource is the key itself
  statement {
    sid       = "TheAccountGivesRights"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }
}

resource "aws_s3_bucket" "cold" {
  #checkov:skip=CKV_AWS_144: a copy in another region is the owner's choice; see docs/cold-storage.md
  #checkov:skip=CKV2_AWS_62: nothing waits for events of this bucket
  bucket              = var.bucket
  object_lock_enabled = true

  lifecycle {
    prevent_destroy = true
  }
}

# Object Lock needs versions. There is no aws_s3_bucket_object_lock_configuration on purpose: a default retention would
# lock the newest checkpoint and partial tiles, and sealing would stop.
resource "aws_s3_bucket_versioning" "cold" {
  bucket = aws_s3_bucket.cold.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "cold" {
  bucket = aws_s3_bucket.cold.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.cold.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "cold" {
  bucket                  = aws_s3_bucket.cold.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "cold" {
  bucket = aws_s3_bucket.cold.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_logging" "cold" {
  count         = var.access_log_bucket == null ? 0 : 1
  bucket        = aws_s3_bucket.cold.id
  target_bucket = var.access_log_bucket
  target_prefix = "${var.bucket}/"
}

resource "aws_s3_bucket_lifecycle_configuration" "cold" {
  bucket     = aws_s3_bucket.cold.id
  depends_on = [aws_s3_bucket_versioning.cold]

  rule {
    id     = "what-was-replaced-or-never-finished"
    status = "Enabled"

    filter {}

    # It ends no locked version.
    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }

  # Parts alone: manifests and the log are small and are read all the time.
  rule {
    id     = "parts-get-colder"
    status = "Enabled"

    filter {
      and {
        prefix                   = "${var.prefix == "" ? "" : "${var.prefix}/"}audit-archives/"
        object_size_greater_than = 131072
      }
    }

    transition {
      days          = var.colder_after_days
      storage_class = var.colder_class
    }
  }
}

resource "aws_s3_bucket_policy" "cold" {
  bucket     = aws_s3_bucket.cold.id
  policy     = data.aws_iam_policy_document.bucket.json
  depends_on = [aws_s3_bucket_public_access_block.cold]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "NothingInPlain"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.cold.arn, local.objects]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  statement {
    sid       = "NobodyPassesALock"
    effect    = "Deny"
    actions   = ["s3:BypassGovernanceRetention"]
    resources = [local.objects]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

# For the pipelines: put, lock, read, and remove what they replace.
data "aws_iam_policy_document" "archiver" {
  statement {
    sid = "LookAtTheBucket"
    actions = [
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketPolicyStatus",
      "s3:GetBucketPublicAccessBlock",
      "s3:GetBucketVersioning",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:ListBucket",
      "s3:ListBucketVersions",
    ]
    resources = [aws_s3_bucket.cold.arn]
  }

  statement {
    sid = "PutLockRead"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:GetObject",
      "s3:GetObjectLegalHold",
      "s3:GetObjectRetention",
      "s3:GetObjectVersion",
      "s3:PutObject",
      "s3:PutObjectLegalHold",
      "s3:PutObjectRetention",
    ]
    resources = [local.objects]
  }

  statement {
    sid       = "RemoveWhatWasReplaced"
    actions   = ["s3:DeleteObjectVersion"]
    resources = local.replaced
  }

  statement {
    sid       = "EncryptAndDecrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.cold.arn]
  }

  statement {
    sid       = "WrapKeysOfArchives"
    actions   = ["kms:Decrypt", "kms:Encrypt"]
    resources = [aws_kms_key.archives.arn]
  }
}

# For whoever removes what has expired, beside the archiver's: the locks decide what that is.
data "aws_iam_policy_document" "expirer" {
  statement {
    sid       = "RemoveWhatHasExpired"
    actions   = ["s3:DeleteObjectVersion"]
    resources = ["${local.below}audit-archives/*"]
  }
}

# For auditors: read everything, change nothing.
data "aws_iam_policy_document" "auditor" {
  statement {
    sid = "LookAtTheBucket"
    actions = [
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketVersioning",
      "s3:GetLifecycleConfiguration",
      "s3:ListBucket",
      "s3:ListBucketVersions",
    ]
    resources = [aws_s3_bucket.cold.arn]
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"]
    resources = [local.objects]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.cold.arn, aws_kms_key.archives.arn]
  }
}

resource "aws_iam_policy" "archiver" {
  name        = "${var.bucket}-archiver"
  description = "The pipelines' rights on the cold store ${var.bucket}"
  policy      = data.aws_iam_policy_document.archiver.json
}

resource "aws_iam_policy" "expirer" {
  name        = "${var.bucket}-expirer"
  description = "The right on the cold store ${var.bucket} to remove what has expired"
  policy      = data.aws_iam_policy_document.expirer.json
}

resource "aws_iam_policy" "auditor" {
  name        = "${var.bucket}-auditor"
  description = "An auditor's rights on the cold store ${var.bucket}"
  policy      = data.aws_iam_policy_document.auditor.json
}
