{{/* Environment variables: docs/reference/settings.md says what each means. */}}

{{- define "avatar.fromSecret" -}}
valueFrom:
  secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end }}

{{/* what every process of ours is told */}}
{{- define "avatar.env.common" -}}
{{- $values := .root.Values -}}
- name: AVATAR_LOG_LEVEL
  value: {{ $values.settings.logLevel | quote }}
{{- with $values.settings.otlpEndpoint }}
- name: AVATAR_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: AVATAR_METRICS_HOST
  value: "0.0.0.0"
- name: AVATAR_METRICS_PORT
  value: "9090"
{{ include "avatar.env.redis" . }}
{{ include "avatar.env.storage" . }}
{{ include "avatar.env.rpc" . }}
{{- end }}

{{- define "avatar.env.redis" -}}
{{- $redis := .root.Values.redis -}}
- name: REDIS_PASSWORD
  {{- include "avatar.fromSecret" (dict "secret" (include "avatar.redisSecret" .root) "key" "password") | nindent 2 }}
- name: AVATAR_REDIS_URL
  value: {{ printf "%s://:$(REDIS_PASSWORD)@%s:%s/%d" (ternary "rediss" "redis" (and $redis.tls (not $redis.bundled))) (include "avatar.redisHost" .root) (include "avatar.redisPort" .root) (int $redis.database) | quote }}
{{- end }}

{{- define "avatar.env.storage" -}}
{{- $secret := include "avatar.storageSecret" .root -}}
- name: AVATAR_STORAGE__URL
  value: {{ include "avatar.storageUrl" .root | quote }}
{{- with .root.Values.storage.publicUrl }}
- name: AVATAR_STORAGE__PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
- name: AVATAR_STORAGE__BUCKET
  value: {{ .root.Values.storage.bucket | quote }}
- name: AVATAR_STORAGE__REGION
  value: {{ .root.Values.storage.region | quote }}
- name: AVATAR_STORAGE__ACCESS_KEY
  {{- include "avatar.fromSecret" (dict "secret" $secret "key" "access-key") | nindent 2 }}
- name: AVATAR_STORAGE__SECRET_KEY
  {{- include "avatar.fromSecret" (dict "secret" $secret "key" "secret-key") | nindent 2 }}
{{- end }}

{{- define "avatar.env.rpc" -}}
- name: AVATAR_RPC__TOKEN
  {{- include "avatar.fromSecret" (dict "secret" (include "avatar.secret" .root) "key" "rpc-token") | nindent 2 }}
{{- if and .grpc (not .http) }}
- name: AVATAR_RPC__HOST
  value: "0.0.0.0"
- name: AVATAR_RPC__PORT
  value: "50051"
- name: AVATAR_RPC__DRAIN_S
  value: {{ .drainSeconds | default 30 | quote }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: AVATAR_RPC__TLS__CERTIFICATE
  value: /etc/avatar/tls/tls.crt
- name: AVATAR_RPC__TLS__KEY
  value: /etc/avatar/tls/tls.key
- name: AVATAR_RPC__TLS__AUTHORITY
  value: /etc/avatar/tls/ca.crt
- name: AVATAR_RPC__TLS__SERVER_NAME
  value: {{ .root.Values.tls.serverName | quote }}
{{- with include "avatar.rpc.callers" . }}
- name: AVATAR_RPC__TLS__CALLERS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whose calls a part takes, by the names in their certificates: where cert-manager gives every part one
     of its own. Not the gateway, which serves backends from elsewhere, nor Ray, whose proxy sees none. */}}
{{- define "avatar.rpc.callers" -}}
{{- $seen := not (and (eq .name "renderer") (eq .root.Values.renderer.mode "ray")) -}}
{{- if and .grpc (not .http) .root.Values.tls.certManager.enabled $seen -}}
{{- $names := list -}}
{{- range without .from "test" "bootstrap" -}}
{{- $names = append $names (include "avatar.host" (dict "root" $.root "name" .)) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
{{- end }}

{{/* clients and workers of a queue are told the same */}}
{{- define "avatar.env.jobs" -}}
- name: AVATAR_JOBS__TENANT_LIMIT
  value: {{ .root.Values.jobs.tenantLimit | quote }}
- name: AVATAR_JOBS__MAX_RUN_S
  value: {{ .root.Values.jobs.maxRunSeconds | quote }}
{{- end }}

{{/* a variable that names where a part serves; takes root, variable and name */}}
{{- define "avatar.env.target" -}}
- name: {{ .variable }}
  value: {{ include "avatar.target" . | quote }}
{{- end }}

{{/* who renders for it, and where expression is: for dubs, and for live sessions */}}
{{- define "avatar.env.makers" -}}
{{ include "avatar.env.target" (dict "root" .root "variable" "AVATAR_EXPRESSION_TARGET" "name" "expression") }}
- name: AVATAR_RENDERER_TARGETS
  value: {{ list (include "avatar.target" (dict "root" .root "name" "renderer")) | toJson | quote }}
{{- end }}

{{/* marks and signatures; takes root, and certificates if it signs (signs) or only verifies */}}
{{- define "avatar.env.provenance" -}}
{{- $provenance := .root.Values.provenance -}}
- name: AVATAR_PROVENANCE__KEY
  {{- include "avatar.fromSecret" (dict "secret" (include "avatar.provenanceSecret" .root) "key" "watermark-key") | nindent 2 }}
- name: AVATAR_PROVENANCE__WATERMARK
  value: {{ $provenance.watermark | quote }}
- name: AVATAR_PROVENANCE__SIGN
  value: {{ $provenance.sign | quote }}
- name: AVATAR_PROVENANCE__LABEL_LIVE
  value: {{ $provenance.labelLive | quote }}
- name: AVATAR_PROVENANCE__LABEL_DUBS
  value: {{ $provenance.labelDubs | quote }}
- name: AVATAR_PROVENANCE__FOLDER
  value: /tmp/provenance
{{- if and .certificates $provenance.certificateSecret }}
{{- if eq .certificates "signs" }}
- name: AVATAR_PROVENANCE__CHAIN
  value: /etc/avatar/signer/tls.crt
{{- with $provenance.signer }}
{{- if .command }}
- name: AVATAR_PROVENANCE__SIGN_COMMAND
  value: {{ toJson .command | quote }}
- name: AVATAR_PROVENANCE__SIGN_ALGORITHM
  value: {{ .algorithm }}
- name: AVATAR_PROVENANCE__SIGN_TIMEOUT_S
  value: {{ .timeoutSeconds | quote }}
{{- else }}
- name: AVATAR_PROVENANCE__PRIVATE_KEY
  value: /etc/avatar/signer/tls.key
{{- end }}
{{- end }}
{{- end }}
- name: AVATAR_PROVENANCE__TRUSTED
  value: /etc/avatar/signer/ca.crt
{{- end }}
{{- end }}

{{- define "avatar.env.extra" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
