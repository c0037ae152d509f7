{{/* SessionService for backends; media by UDP where browsers reach pods themselves */}}
{{- define "avatar.live.ingress" -}}
- ports: [{port: 50051, protocol: TCP}]
  {{- with .Values.networkPolicy.publicFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if .Values.gateway.live.directUdp }}
- ports: [{port: 1024, endPort: 65535, protocol: UDP}]
{{- end }}
{{- end }}

{{- define "avatar.live.egress" -}}
- ports: [{port: 3478, protocol: UDP}, {port: 3478, protocol: TCP}, {port: 5349, protocol: TCP}]
  {{- with .Values.gateway.live.turnTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if .Values.gateway.live.directUdp }}
- ports: [{port: 1024, endPort: 65535, protocol: UDP}]
{{- end }}
{{- end }}
