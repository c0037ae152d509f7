{{/*
The parts themselves: what each runs, what it is told, and whom it talks to. In one place, because a
part's Deployment, policy and certificate must agree. Files of a part begin with
  {{- $part := include "avatar.part" (dict "root" . "name" "gateway") | fromYaml }}
and add root and values to that.
*/}}

{{- define "avatar.part" -}}
{{- toYaml (get (include "avatar.parts" .root | fromYaml) .name | merge (dict "name" .name)) }}
{{- end }}

{{- define "avatar.parts" -}}
{{- $v := .Values -}}
{{- $of := dict "root" . -}}
gateway:
  service: gateway
  args: [-m, services.gateway]
  env:
    {{- include "avatar.env.of.gateway" $of | nindent 4 }}
  http: true
  {{- if $v.gateway.live.enabled }}
  grpc: true
  stableNames: {{ ne $v.gateway.live.domain "" }}
  {{- end }}
  metrics: 9090
  port: 8080
  public: true
  priority: live
  grace: {{ add $v.gateway.drainSeconds 15 }}
  from: [bootstrap, test]
  to: [redis, storage, preprocess, trainer, internet{{ if $v.gateway.live.enabled }}, expression, renderer{{ end }}]
preprocess:
  service: preprocess
  args: [-m, services.preprocess, serve]
  env:
    {{- include "avatar.env.of.preprocess" $of | nindent 4 }}
  certificates: verifies
  grpc: true
  metrics: 9090
  port: 50051
  grace: 45
  from: [gateway, test]
  to: [redis, storage]
trainer:
  service: trainer
  args: [-m, services.trainer, serve]
  env:
    {{- include "avatar.env.jobs" $of | nindent 4 }}
  grpc: true
  metrics: 9090
  port: 50051
  grace: 45
  from: [gateway, test]
  to: [redis]
expression:
  service: expression
  args: [-m, services.expression]
  env:
    {{- include "avatar.env.of.expression" $of | nindent 4 }}
  grpc: true
  metrics: 9090
  port: 50051
  priority: live
  drainSeconds: {{ $v.expression.drainSeconds }}
  grace: {{ add $v.expression.drainSeconds 15 }}
  from: [dubbing-worker, test{{ if $v.gateway.live.enabled }}, gateway{{ end }}]
  to: []
renderer:
  service: renderer
  args: [-m, services.renderer]
  env:
    {{- include "avatar.env.of.renderer" $of | nindent 4 }}
  grpc: true
  gpu: true
  metrics: 9090
  port: 50051
  priority: live
  work: {{ $v.renderer.workSize }}
  drainSeconds: {{ $v.renderer.drainSeconds }}
  grace: {{ add $v.renderer.drainSeconds 15 }}
  from: [dubbing-worker, test{{ if $v.gateway.live.enabled }}, gateway{{ end }}]
  to: [redis, storage]
preprocess-worker:
  service: preprocess
  args: [-m, services.preprocess, work]
  env:
    {{- include "avatar.env.of.worker" $of | nindent 4 }}
  queue: preprocess
  metrics: 9090
  priority: batch
  work: {{ $v.preprocess.worker.workSize }}
  grace: {{ $v.preprocess.worker.graceSeconds }}
  to: [redis, storage]
trainer-worker:
  service: trainer
  args: [-m, services.trainer, work]
  env:
    {{- include "avatar.env.of.worker" $of | nindent 4 }}
  queue: train
  gpu: true
  metrics: 9090
  priority: batch
  work: {{ $v.trainer.worker.workSize }}
  grace: {{ $v.trainer.worker.graceSeconds }}
  to: [redis, storage]
dubbing-worker:
  service: dubbing
  args: [-m, services.dubbing]
  env:
    {{- include "avatar.env.of.dubbing" $of | nindent 4 }}
  certificates: signs
  queue: dub
  metrics: 9090
  priority: batch
  work: {{ $v.dubbing.worker.workSize }}
  grace: {{ $v.dubbing.worker.graceSeconds }}
  serviceAccountName: {{ $v.provenance.signer.serviceAccountName }}
  to: [redis, storage, expression, renderer{{ if $v.provenance.signer.command }}, kms{{ end }}]
{{- end }}

{{/* variables of a part beside those that all have; takes root */}}
{{- define "avatar.env.of.gateway" -}}
- name: AVATAR_GATEWAY_HOST
  value: "0.0.0.0"
- name: AVATAR_GATEWAY_PORT
  value: "8080"
- name: AVATAR_GATEWAY_DRAIN_S
  value: {{ .root.Values.gateway.drainSeconds | quote }}
- name: AVATAR_BOOTSTRAP_KEY
  {{- include "avatar.fromSecret" (dict "secret" (include "avatar.secret" .root) "key" "bootstrap-key") | nindent 2 }}
{{ include "avatar.env.target" (dict "root" .root "variable" "AVATAR_PREPROCESS_TARGET" "name" "preprocess") }}
{{ include "avatar.env.target" (dict "root" .root "variable" "AVATAR_TRAINER_TARGET" "name" "trainer") }}
{{ include "avatar.env.jobs" . }}
{{- if .root.Values.gateway.live.enabled }}
{{ include "avatar.env.live" . }}
{{- end }}
{{- end }}

{{- define "avatar.env.live" -}}
{{- $live := .root.Values.gateway.live -}}
{{ include "avatar.env.makers" . }}
- name: AVATAR_LIVE__GRPC_HOST
  value: "0.0.0.0"
- name: AVATAR_LIVE__GRPC_PORT
  value: "50051"
- name: AVATAR_LIVE__MAX_SESSIONS
  value: {{ $live.maxSessions | quote }}
- name: AVATAR_LIVE__ALLOW_ORIGINS
  value: {{ toJson $live.allowOrigins | quote }}
{{- with $live.iceServersSecret }}
- name: AVATAR_LIVE__ICE_SERVERS
  {{- include "avatar.fromSecret" (dict "secret" . "key" "ice-servers") | nindent 2 }}
{{- end }}
{{- if $live.domain }}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: AVATAR_LIVE__URL
  value: {{ printf "%s://$(POD_NAME).%s" (include "avatar.scheme" .root) $live.domain }}
{{- end }}
{{- end }}

{{/* of what users reach */}}
{{- define "avatar.scheme" -}}
{{ ternary "http" "https" (and .Values.ingress.enabled (not .Values.ingress.tlsSecret)) }}
{{- end }}

{{/* it also verifies files that users upload */}}
{{- define "avatar.env.of.preprocess" -}}
{{ include "avatar.env.jobs" . }}
{{ include "avatar.env.provenance" (dict "root" .root "certificates" "verifies") }}
{{- end }}

{{- define "avatar.env.of.expression" -}}
- name: AVATAR_EXPRESSION_MAX_STREAMS
  value: {{ .root.Values.expression.maxStreams | quote }}
{{- end }}

{{- define "avatar.env.of.renderer" -}}
- name: AVATAR_RENDERER_DEVICE
  value: {{ ternary "cuda" "cpu" .root.Values.gpu.enabled }}
- name: AVATAR_RENDERER_MAX_SEGMENTS
  value: {{ .root.Values.renderer.maxSegments | quote }}
- name: AVATAR_RENDERER_CACHE_BYTES
  value: {{ .root.Values.renderer.cacheBytes | int64 | quote }}
{{ include "avatar.env.provenance" . }}
{{- end }}

{{- define "avatar.env.of.worker" -}}
{{ include "avatar.env.jobs" . }}
{{- if .root.Values.keda.enabled }}
- name: AVATAR_JOBS__IDLE_EXIT_S
  value: {{ .root.Values.keda.idleSeconds | quote }}
{{- end }}
{{- end }}

{{- define "avatar.env.of.dubbing" -}}
{{ include "avatar.env.of.worker" . }}
{{ include "avatar.env.makers" . }}
{{ include "avatar.env.provenance" (dict "root" .root "certificates" "signs") }}
{{- end }}
