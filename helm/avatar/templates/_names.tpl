{{/*
Names and labels. Most helpers of this chart take a part, a dict with
  root     the top context
  name     of the part: gateway, preprocess, preprocess-worker, …
  service  whose image and settings it has: gateway, preprocess, …
  values   its section of the values
*/}}

{{- define "avatar.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* name of a part's objects */}}
{{- define "avatar.name" -}}
{{ include "avatar.fullname" .root }}-{{ .name }}
{{- end }}

{{/* what selects the pods of a part; never changes */}}
{{- define "avatar.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "avatar.labels" -}}
{{ include "avatar.selector" . }}
app.kubernetes.io/part-of: avatar
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "avatar.metadata" -}}
name: {{ include "avatar.name" . }}
labels:
  {{- include "avatar.labels" . | nindent 2 }}
{{- end }}

{{/* NAME.NAMESPACE.svc.DOMAIN of a part's service; takes root and name */}}
{{- define "avatar.host" -}}
{{ include "avatar.name" . }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{/* one address for every pod of a part: headless services, balanced by the caller */}}
{{- define "avatar.target" -}}
dns:///{{ include "avatar.host" . }}:{{ eq .name "renderer" | ternary (include "avatar.rendererPort" .root) "50051" }}
{{- end }}

{{- define "avatar.image" -}}
{{ .root.Values.image.registry }}/avatar-{{ .service }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* names of the secrets, made or given; take the top context */}}
{{- define "avatar.secret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "avatar.fullname" .)) }}
{{- end }}

{{- define "avatar.provenanceSecret" -}}
{{ .Values.provenance.existingSecret | default (printf "%s-provenance" (include "avatar.fullname" .)) }}
{{- end }}

{{- define "avatar.redisSecret" -}}
{{ .Values.redis.existingSecret | default (printf "%s-redis" (include "avatar.fullname" .)) }}
{{- end }}

{{- define "avatar.storageSecret" -}}
{{ .Values.storage.existingSecret | default (printf "%s-storage" (include "avatar.fullname" .)) }}
{{- end }}

{{- define "avatar.redisHost" -}}
{{ ternary (include "avatar.host" (dict "root" . "name" "redis")) .Values.redis.host .Values.redis.bundled }}
{{- end }}

{{- define "avatar.redisPort" -}}
{{ ternary 6379 .Values.redis.port .Values.redis.bundled }}
{{- end }}

{{- define "avatar.storageUrl" -}}
{{ ternary (printf "http://%s:9000" (include "avatar.host" (dict "root" . "name" "storage"))) .Values.storage.url .Values.storage.bundled }}
{{- end }}

{{/* certificate of a part */}}
{{- define "avatar.tlsSecret" -}}
{{ ternary (printf "%s-tls" (include "avatar.name" .)) .root.Values.tls.existingSecret .root.Values.tls.certManager.enabled }}
{{- end }}

{{- define "avatar.priorityClass" -}}
{{- if .values.priorityClassName }}
{{- .values.priorityClassName }}
{{- else if .root.Values.priorityClasses.create }}
{{- include "avatar.fullname" .root }}-{{ .priority }}
{{- end }}
{{- end }}

{{/* a password that stays over upgrades; takes root, secret and key */}}
{{- define "avatar.password" -}}
{{- $kept := lookup "v1" "Secret" .root.Release.Namespace .secret }}
{{- if and $kept (hasKey ($kept.data | default dict) .key) }}
{{- index $kept.data .key }}
{{- else }}
{{- randAlphaNum 40 | b64enc }}
{{- end }}
{{- end }}

{{/* the Gateways that routes hang on; takes the top context */}}
{{- define "avatar.parentRefs" -}}
{{ toYaml (.Values.gatewayApi.parentRefs | default (list (dict "name" (include "avatar.name" (dict "root" . "name" "gateway"))))) }}
{{- end }}

{{/* the port on which renderers are called: Ray Serve's own where no proxy stands before it */}}
{{- define "avatar.rendererPort" -}}
{{ ternary 9000 50051 (and (eq .Values.renderer.mode "ray") (not .Values.tls.enabled)) }}
{{- end }}

{{/* the version of Ray in the renderer's image: constraints.txt, as a test compares */}}
{{- define "avatar.rayVersion" -}}
2.60.0
{{- end }}
