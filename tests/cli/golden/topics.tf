resource "kafka_topic" "shop_inbox" {
  name               = "shop.inbox"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"         = "delete"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "-1"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_history" {
  name               = "shop.history"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"            = "compact"
    "delete.retention.ms"       = "3600000"
    "max.message.bytes"         = "4194304"
    "message.timestamp.type"    = "LogAppendTime"
    "min.cleanable.dirty.ratio" = "0.3"
    "min.compaction.lag.ms"     = "3600000"
    "min.insync.replicas"       = "2"
    "retention.ms"              = "-1"
    "segment.bytes"             = "67108864"
    "segment.ms"                = "3600000"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_archive" {
  name               = "shop.archive"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"         = "delete"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "604800000"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_replies" {
  name               = "shop.replies"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"         = "delete"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "1800000"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_visibility" {
  name               = "shop.visibility"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"         = "compact"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "-1"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_workers" {
  name               = "shop.workers"
  partitions         = 1
  replication_factor = 3

  config = {
    "cleanup.policy"            = "compact"
    "max.message.bytes"         = "4194304"
    "message.timestamp.type"    = "LogAppendTime"
    "min.cleanable.dirty.ratio" = "0.3"
    "min.insync.replicas"       = "2"
    "retention.ms"              = "-1"
    "segment.bytes"             = "16777216"
    "segment.ms"                = "600000"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_dead-letter" {
  name               = "shop.dead-letter"
  partitions         = 4
  replication_factor = 3

  config = {
    "cleanup.policy"         = "delete"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "2419200000"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "kafka_topic" "shop_tasks_orders" {
  name               = "shop.tasks.orders"
  partitions         = 12
  replication_factor = 3

  config = {
    "cleanup.policy"         = "delete"
    "max.message.bytes"      = "4194304"
    "message.timestamp.type" = "LogAppendTime"
    "min.insync.replicas"    = "2"
    "retention.ms"           = "604800000"
  }

  lifecycle {
    prevent_destroy = true
  }
}
