// What a page of someone else's needs, as text.

export const snippet = `<video id="avatar" autoplay playsinline></video>
<script type="module">
  // POST /v1/sessions {"avatar": "av_…"} on your server
  const session = await (await fetch("/my-session")).json();
  const peer = new RTCPeerConnection({ iceServers: session.ice_servers });
  const stream = new MediaStream();
  document.getElementById("avatar").srcObject = stream;
  peer.ontrack = ({ track }) => stream.addTrack(track);
  peer.addTransceiver("video", { direction: "recvonly" });
  const [voice] = (await navigator.mediaDevices
    .getUserMedia({ audio: true })).getAudioTracks();
  peer.addTrack(voice);             // it says what it hears
  const control = peer.createDataChannel("control");
  control.onmessage = ({ data }) => console.log(JSON.parse(data));
  // barge-in: control.send(JSON.stringify({ type: "interrupt" }))
  await peer.setLocalDescription(await peer.createOffer());
  while (peer.iceGatheringState !== "complete")
    await new Promise((done) => setTimeout(done, 50));
  const answer = await fetch(session.webrtc_url, {
    method: "POST",
    headers: { Authorization: \`Bearer \${session.token}\`,
               "Content-Type": "application/json" },
    body: JSON.stringify(peer.localDescription),
  });
  await peer.setRemoteDescription(await answer.json());
</script>
`;
