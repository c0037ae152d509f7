{{/*
Ways between parts. A part has
  from  who may call it, by name of the part; public and operator are special
  to    whom it may call: parts, redis, storage, internet, kubernetes
Names are resolved and metrics scraped everywhere.
*/}}

{{- define "avatar.podPeer" -}}
podSelector:
  matchLabels:
    {{- include "avatar.selector" . | nindent 4 }}
{{- end }}

{{- define "avatar.networkPolicy" -}}
{{- if .root.Values.networkPolicy.enabled -}}
{{- $part := . -}}
{{- $policy := .root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "avatar.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if not (or .metrics .public .from) }}
  ingress: []
  {{- else }}
  ingress:
    {{- if .metrics }}
    - ports: [{port: {{ .metrics }}, protocol: TCP}]
      from:
        {{- toYaml ($policy.metricsFrom | default (list (dict "namespaceSelector" dict))) | nindent 8 }}
    {{- end }}
    {{- if .public }}
    - ports: [{port: {{ .port }}, protocol: TCP}]
      {{- with $policy.publicFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- if .from }}
    - ports: [{port: {{ .port }}, protocol: TCP}]
      from:
        {{- range .from }}
        - {{- include "avatar.podPeer" (dict "root" $part.root "name" .) | nindent 10 }}
        {{- end }}
        {{- with .fromNamespace }}
        - namespaceSelector:
            matchLabels: {kubernetes.io/metadata.name: {{ . }}}
        {{- end }}
    {{- end }}
    {{- with .extraIngress }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- if .root.Values.settings.otlpEndpoint }}
    {{- include "avatar.wayTo.outside" (dict "port" (include "avatar.urlPort" .root.Values.settings.otlpEndpoint) "to" $policy.otlpTo) | nindent 4 }}
    {{- end }}
    {{- range .to }}
    {{- include "avatar.wayTo" (dict "root" $part.root "name" .) | nindent 4 }}
    {{- end }}
    {{- with .extraEgress }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* one rule of egress */}}
{{- define "avatar.wayTo" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if and (eq .name "redis") (not .root.Values.redis.bundled) }}
{{- include "avatar.wayTo.outside" (dict "port" .root.Values.redis.port "to" $policy.redisTo) }}
{{- else if and (eq .name "storage") (not .root.Values.storage.bundled) }}
{{- include "avatar.wayTo.outside" (dict "port" (include "avatar.urlPort" .root.Values.storage.url) "to" $policy.storageTo) }}
{{- else if eq .name "kms" }}
{{- include "avatar.wayTo.outside" (dict "port" .root.Values.provenance.signer.port "to" $policy.kmsTo) }}
{{- else if eq .name "kubernetes" }}
{{- include "avatar.wayTo.outside" (dict "port" 443 "to" $policy.kubernetesTo) }}
{{ include "avatar.wayTo.outside" (dict "port" 6443 "to" $policy.kubernetesTo) }}
{{- else if eq .name "internet" -}}
- ports: [{port: 443, protocol: TCP}]
  to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ toJson $policy.webhooksExcept }}
{{- else -}}
- ports: [{port: {{ get (dict "redis" 6379 "storage" 9000 "gateway" 8080 "renderer" (include "avatar.rendererPort" .root)) .name | default 50051 }}, protocol: TCP}]
  to:
    - {{- include "avatar.podPeer" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "avatar.wayTo.outside" -}}
- ports: [{port: {{ .port }}, protocol: TCP}]
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "avatar.urlPort" -}}
{{- $url := urlParse . -}}
{{- $given := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
{{- $given | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}
