{{/* Ray's own pods talk to each other on whatever port; KubeRay's operator talks to the head. */}}
{{- define "avatar.ray.ingress" -}}
- from:
    - {{- include "avatar.podPeer" . | nindent 6 }}
- ports: [{port: 8265, protocol: TCP}, {port: 52365, protocol: TCP}, {port: 6379, protocol: TCP}, {port: 8000, protocol: TCP}]
  from:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .root.Values.renderer.ray.operatorNamespace }}}
{{- end }}

{{- define "avatar.ray.egress" -}}
- to:
    - {{- include "avatar.podPeer" . | nindent 6 }}
{{- end }}

{{/* a Ray pod; beside a part it takes container, command resources and whether it is the head */}}
{{- define "avatar.ray.podTemplate" -}}
metadata:
  {{- include "avatar.podMetadata" . | nindent 2 }}
spec:
  {{- omit (include "avatar.podBasics" . | fromYaml) (ternary "automountServiceAccountToken" "" .head) | toYaml | nindent 2 }}
  terminationGracePeriodSeconds: {{ .grace }}
  {{- if .root.Values.tls.enabled }}
  initContainers:
    # Ray Serve's gRPC proxy has no TLS: this one beside it has, and demands the caller's certificate.
    - name: tls-proxy
      image: {{ .root.Values.tls.proxyImage }}
      restartPolicy: Always
      args: [--config-path, /etc/envoy/envoy.yaml, --log-level, warning]
      securityContext:
        {{- include "avatar.containerSecurity" . | nindent 8 }}
      ports:
        - {name: grpc-tls, containerPort: 50051}
      resources:
        {{- toYaml .root.Values.tls.proxyResources | nindent 8 }}
      volumeMounts:
        - {name: proxy, mountPath: /etc/envoy, readOnly: true}
        - {name: tls, mountPath: /etc/avatar/tls, readOnly: true}
  {{- end }}
  containers:
    - name: ray-{{ ternary "head" "worker" .head }}
      image: {{ include "avatar.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      securityContext:
        {{- include "avatar.containerSecurity" . | nindent 8 }}
      env:
        {{- include "avatar.env" . | nindent 8 }}
      ports:
        {{- if .head }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        {{- end }}
        - {name: serve, containerPort: 8000}
        - {name: serve-grpc, containerPort: 9000}
        - {name: metrics, containerPort: 8080}
      resources:
        {{- include "avatar.resources" . | nindent 8 }}
      volumeMounts:
        {{- include "avatar.volumeMounts" . | nindent 8 }}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    {{- include "avatar.volumes" . | nindent 4 }}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: 1Gi}
    {{- if .root.Values.tls.enabled }}
    - name: proxy
      configMap: {name: {{ include "avatar.name" . }}-proxy}
    {{- end }}
{{- end }}
