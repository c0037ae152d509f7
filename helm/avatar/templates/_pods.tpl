{{/*
Pods. Beside what _names.tpl says, a part has
  args      of python
  env       its variables beside those that all have
  grpc      whether it serves gRPC on 50051
  http      whether it serves HTTP on 8080
  work      size of its disk under /var/lib/avatar; empty: none
  grace     seconds from SIGTERM to SIGKILL
  priority  live or batch
  gpu       whether it gets one, if GPUs are enabled
  certificates  of who signs videos: signs, verifies, or none
  serviceAccountName  whose credentials a cloud gives it; none: the namespace's default
*/}}

{{- define "avatar.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "avatar.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "avatar.podMetadata" -}}
labels:
  {{- include "avatar.labels" . | nindent 2 }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* where pods go, and who goes first */}}
{{- define "avatar.placement" -}}
{{- $gpu := and (.gpu | default false) .root.Values.gpu.enabled -}}
{{- with include "avatar.priorityClass" . }}
priorityClassName: {{ . }}
{{- end }}
{{- if and $gpu .root.Values.gpu.runtimeClassName }}
runtimeClassName: {{ .root.Values.gpu.runtimeClassName }}
{{- end }}
{{- with merge dict .values.nodeSelector (ternary .root.Values.gpu.nodeSelector dict $gpu) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .values.tolerations (ternary .root.Values.gpu.tolerations list $gpu) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "avatar.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* what all pods of ours have but their containers */}}
{{- define "avatar.podBasics" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "avatar.podSecurity" . | nindent 2 }}
{{- with include "avatar.placement" . }}
{{ . }}
{{- end }}
{{- end }}

{{- define "avatar.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .work }}
- name: work
  emptyDir:
    sizeLimit: {{ . }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "avatar.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- if and .certificates .root.Values.provenance.certificateSecret }}
- name: signer
  secret:
    secretName: {{ .root.Values.provenance.certificateSecret }}
    defaultMode: 0440
    {{- if eq .certificates "verifies" }}
    items:
      - {key: ca.crt, path: ca.crt}
    {{- end }}
{{- end }}
{{- end }}

{{- define "avatar.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .work }}
- {name: work, mountPath: /var/lib/avatar}
{{- end }}
{{- if .root.Values.tls.enabled }}
- {name: tls, mountPath: /etc/avatar/tls, readOnly: true}
{{- end }}
{{- if and .certificates .root.Values.provenance.certificateSecret }}
- {name: signer, mountPath: /etc/avatar/signer, readOnly: true}
{{- end }}
{{- end }}

{{- define "avatar.env" -}}
{{ include "avatar.env.common" . }}
{{- if .work }}
- name: AVATAR_WORK_DIR
  value: /var/lib/avatar
{{- end }}
{{- with .env }}
{{ toYaml . }}
{{- end }}
{{- include "avatar.env.extra" .values.env }}
{{- end }}

{{/* requests and limits, with the GPU among the limits */}}
{{- define "avatar.resources" -}}
{{- $resources := deepCopy .values.resources -}}
{{- if and .gpu .root.Values.gpu.enabled }}
{{- $gpus := dict .root.Values.gpu.resourceName (.root.Values.gpu.count | int) }}
{{- $_ := set $resources "limits" (merge dict $gpus ($resources.limits | default dict)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/* Whether it serves. Kubernetes' gRPC probe speaks no TLS: then that the port is open says it,
     which opens when a service is ready and closes when it drains. */}}
{{- define "avatar.probes" -}}
{{- $check := dict "tcpSocket" (dict "port" "metrics") }}
{{- if .http }}
{{- $check = dict "httpGet" (dict "path" "/healthz" "port" "http") }}
{{- else if and .grpc .root.Values.tls.enabled }}
{{- $check = dict "tcpSocket" (dict "port" "grpc") }}
{{- else if .grpc }}
{{- $check = dict "grpc" (dict "port" 50051) }}
{{- end }}
startupProbe:
  {{- toYaml $check | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  {{- toYaml $check | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{- if .http }}
  httpGet: {path: /readyz, port: http}
  {{- else }}
  {{- toYaml $check | nindent 2 }}
  {{- end }}
  periodSeconds: 5
  timeoutSeconds: 8
{{- end }}

{{- define "avatar.container" -}}
name: {{ .service }}
image: {{ include "avatar.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .args }}
securityContext:
  {{- include "avatar.containerSecurity" . | nindent 2 }}
env:
  {{- include "avatar.env" . | nindent 2 }}
ports:
  {{- if .http }}
  - {name: http, containerPort: 8080}
  {{- end }}
  {{- if .grpc }}
  - {name: grpc, containerPort: 50051}
  {{- end }}
  - {name: metrics, containerPort: 9090}
resources:
  {{- include "avatar.resources" . | nindent 2 }}
volumeMounts:
  {{- include "avatar.volumeMounts" . | nindent 2 }}
{{- end }}

{{- define "avatar.podTemplate" -}}
metadata:
  {{- include "avatar.podMetadata" . | nindent 2 }}
spec:
  {{- include "avatar.podBasics" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ .grace }}
  containers:
    - {{- include "avatar.container" . | nindent 6 }}
      {{- if .http }}
      # Its address is withdrawn everywhere before it stops to take requests.
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      {{- end }}
      {{- include "avatar.probes" . | nindent 6 }}
  volumes:
    {{- include "avatar.volumes" . | nindent 4 }}
{{- end }}
