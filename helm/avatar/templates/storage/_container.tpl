{{/* Signatures are checked; any page may ask, because a signed URL decides what it gets. */}}
{{- define "avatar.storage.container" -}}
args: [serve, s3, --config, "", --addr, ":9000", --allow-origin, "*", --log-level, NOTICE, /data]
env:
  - name: ACCESS_KEY
    {{- include "avatar.fromSecret" (dict "secret" (include "avatar.storageSecret" .) "key" "access-key") | nindent 4 }}
  - name: SECRET_KEY
    {{- include "avatar.fromSecret" (dict "secret" (include "avatar.storageSecret" .) "key" "secret-key") | nindent 4 }}
  - name: RCLONE_AUTH_KEY
    value: $(ACCESS_KEY),$(SECRET_KEY)
  - name: RCLONE_CACHE_DIR
    value: /tmp/cache
{{- end }}
