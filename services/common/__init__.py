"""What every service stands on: settings, logs, errors, rpc, object storage, jobs, metrics."""
