"""The notifier: it evaluates alerts, and delivers notices to webhooks, Slack, e-mail and topics."""
