{{/* Whole objects that several parts have. */}}

{{/* with stableNames a StatefulSet: its pods are reached one by one */}}
{{- define "avatar.deployment" -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (.stableNames | default false) }}
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  {{- if not (dig "autoscaling" "enabled" false .values) }}
  replicas: {{ .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  {{- if .stableNames }}
  serviceName: {{ include "avatar.name" . }}
  podManagementPolicy: Parallel
  {{- else }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  {{- end }}
  selector:
    matchLabels:
      {{- include "avatar.selector" . | nindent 6 }}
  template:
    {{- include "avatar.podTemplate" . | nindent 4 }}
{{- end }}

{{- define "avatar.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ ternary "StatefulSet" "Deployment" (.stableNames | default false) }}
    name: {{ include "avatar.name" . }}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .values.autoscaling.targetCPUPercent }}}
  behavior:
    scaleDown:
      # Every pod that goes has streams to drain: one at a time.
      stabilizationWindowSeconds: 300
      policies:
        - {type: Pods, value: 1, periodSeconds: 60}
{{- end }}

{{/* headless: callers balance over all pods, and see new ones when their connections are renewed */}}
{{- define "avatar.grpcService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "avatar.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: grpc}
    - {name: metrics, port: 9090, targetPort: metrics}
{{- end }}

{{- define "avatar.disruptionBudget" -}}
{{- if .root.Values.podDisruptionBudgets.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "avatar.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "avatar.certificate" -}}
{{- if and .root.Values.tls.enabled .root.Values.tls.certManager.enabled -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  secretName: {{ include "avatar.tlsSecret" . }}
  duration: {{ .root.Values.tls.certManager.duration }}
  renewBefore: {{ .root.Values.tls.certManager.renewBefore }}
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  usages: [server auth, client auth]
  dnsNames:
    - {{ .root.Values.tls.serverName }}
    - {{ include "avatar.host" . }}
  issuerRef:
    {{- toYaml .root.Values.tls.certManager.issuerRef | nindent 4 }}
{{- end }}
{{- end }}

{{/*
A queue's workers: ScaledJobs where KEDA is, else a Deployment.

The trigger is the length of the sorted set jobs:{QUEUE}:ring, which KEDA's redis trigger counts like
a list: the tenants that have a job and are below their limit. A tenant at its limit leaves the ring,
so no worker is started that would find nothing. Takes queue, and what a pod takes.
*/}}
{{- define "avatar.worker" -}}
{{- if .root.Values.keda.enabled }}
{{- include "avatar.scaledJob" . }}
{{- else }}
{{- include "avatar.deployment" . }}
{{- end }}
{{- end }}

{{- define "avatar.scaledJob" -}}
{{- $redis := .root.Values.redis -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  pollingInterval: {{ .root.Values.keda.pollingSeconds }}
  minReplicaCount: {{ .values.minReplicas }}
  maxReplicaCount: {{ .values.maxReplicas }}
  successfulJobsHistoryLimit: 5
  failedJobsHistoryLimit: 5
  rollout:
    strategy: gradual  # running workers end their jobs
  scalingStrategy:
    strategy: accurate  # what is leased has left the ring
  jobTargetRef:
    # A worker that dies is started again; what it had in hand is anyone's when its lease ends.
    backoffLimit: 4
    ttlSecondsAfterFinished: 3600
    template:
      metadata:
        {{- include "avatar.podMetadata" . | nindent 8 }}
      spec:
        {{- include "avatar.podBasics" . | nindent 8 }}
        restartPolicy: Never
        terminationGracePeriodSeconds: {{ .grace }}
        containers:
          - {{- include "avatar.container" . | nindent 12 }}
        volumes:
          {{- include "avatar.volumes" . | nindent 10 }}
  triggers:
    - type: redis
      metadata:
        address: {{ include "avatar.redisHost" .root }}:{{ include "avatar.redisPort" .root }}
        databaseIndex: {{ $redis.database | quote }}
        enableTLS: {{ and $redis.tls (not $redis.bundled) | quote }}
        listName: {{ printf "jobs:{%s}:ring" .queue | quote }}
        listLength: "1"
      authenticationRef:
        name: {{ include "avatar.fullname" .root }}-redis
{{- end }}

{{/* takes root, name and keys */}}
{{- define "avatar.madeSecret" -}}
{{- $secret := include "avatar.name" . }}
apiVersion: v1
kind: Secret
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
  {{- range .keys }}
  {{ . }}: {{ include "avatar.password" (dict "root" $.root "secret" $secret "key" .) }}
  {{- end }}
{{- end }}

{{/* a bundled server: one pod with a disk; takes container, port and size and class of the disk */}}
{{- define "avatar.bundled" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  serviceName: {{ include "avatar.name" . }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "avatar.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "avatar.labels" . | nindent 8 }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        {{- include "avatar.podSecurity" . | nindent 8 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: {{ .name }}
          image: {{ .values.image }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            {{- include "avatar.containerSecurity" . | nindent 12 }}
          {{- .container | nindent 10 }}
          ports:
            - {name: server, containerPort: {{ .port }}}
          readinessProbe:
            tcpSocket: {port: server}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {port: server}
            periodSeconds: 20
            failureThreshold: 6
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "avatar.selector" . | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .values.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ .values.persistence.size }}}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "avatar.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "avatar.selector" . | nindent 4 }}
  ports:
    - {name: server, port: {{ .port }}, targetPort: server}
---
{{ include "avatar.networkPolicy" . }}
{{- end }}
