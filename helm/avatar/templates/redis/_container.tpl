{{/* Jobs must outlive a power cut: docs/decisions/jobs.md. The password stays out of the command. */}}
{{- define "avatar.redis.container" -}}
command: [sh, -c]
args:
  - |
    umask 077
    printf 'requirepass "%s"\n' "$REDIS_PASSWORD" > /tmp/password.conf
    exec redis-server /tmp/password.conf --dir /data --appendonly yes --appendfsync always \
      --save '' --maxmemory-policy noeviction
env:
  - name: REDIS_PASSWORD
    {{- include "avatar.fromSecret" (dict "secret" (include "avatar.redisSecret" .) "key" "password") | nindent 4 }}
{{- end }}
