// What the API's names are called here.

export const STATES = {
  queued: ["Queued", "busy"],
  waiting: ["Waiting to retry", "busy"],
  preprocessing: ["Preparing", "busy"],
  training: ["Training", "busy"],
  running: ["Running", "busy"],
  ready: ["Ready", "good"],
  succeeded: ["Done", "good"],
  failed: ["Failed", "bad"],
  dead: ["Failed", "bad"],
  cancelled: ["Cancelled", "warn"],
  draft: ["Needs evidence", "warn"],
  in_review: ["In review", "busy"],
  refused: ["Refused", "bad"],
  approved: ["Approved", "good"],
  active: ["Active", "good"],
  revoked: ["Revoked", "bad"],
  expired: ["Expired", "warn"],
  pending: ["On its way", "busy"],
  delivered: ["Delivered", "good"],
};

export const ROLES = { operator: "Operator", admin: "Admin", member: "Member", reviewer: "Reviewer", viewer: "Viewer" };

/** What a consent may be for. */
export const SCOPES = { avatar: "Making avatars", dub: "Dubs", live: "Speaking live" };

/** What a consent rests on. */
export const EVIDENCE = {
  declared: ["A declaration", "You record it and answer for it"],
  reviewed: ["Evidence", "The person reads it on camera or signs it, and somebody else looks at that"],
};

/** What webhooks can hear of. */
export const EVENTS = {
  "avatar.ready": "An avatar is ready",
  "avatar.failed": "An avatar failed",
  "avatar.cancelled": "An avatar was cancelled",
  "dub.succeeded": "A dub is done",
  "dub.failed": "A dub failed",
  "dub.cancelled": "A dub was cancelled",
};

/** The stages of an avatar's two jobs, in order; several of the API's may be one here. */
export const AVATAR_STEPS = [
  ["preprocess", ["download", "locate", "normalise", "cuts"], "Find the face, normalise the video"],
  ["preprocess", ["track", "quality"], "Track the face, judge the footage"],
  ["preprocess", ["pose", "parse"], "Solve the head's pose, cut out the person"],
  ["preprocess", ["audio", "upload"], "Listen to the voice"],
  ["train", ["download", "load frames", "train"], "Learn the head"],
  ["train", ["lips", "expression"], "Learn lips and expression"],
  ["train", ["torso", "mattes", "torso plates"], "Learn neck and shoulders"],
  ["train", ["upload"], "Store the avatar"],
];

export const DUB_STEPS = [
  [["audio"], "Read the audio"],
  [["features"], "Turn speech into lips"],
  [["render"], "Render the frames"],
  [["join"], "Join picture and sound"],
];

/** Step of a stage: its index, or -1. */
export const avatarStep = (job, stage) =>
  AVATAR_STEPS.findIndex(([kind, stages]) => kind === job && stages.includes(stage));

export const CHECKS = {
  usable_speech: "Length of speech",
  face_found: "Face in the picture",
  single_face: "One person only",
  face_size: "Size of the face",
  sharpness: "Sharpness",
  brightness: "Brightness",
  overexposed: "Overexposure",
  even_light: "Even light",
  yaw_range: "Head turns",
  pitch_range: "Head nods",
  mouth_range: "Mouth opens",
  mouth_closes: "Mouth closes",
  speech_level: "Loudness of speech",
  speech_snr: "Background noise",
  clipping: "Clipping",
  speech_share: "Share of speech",
  lip_audio_offset: "Lips and sound in step",
  cuts: "Cuts",
  background: "Background stands still",
  frame_rate: "Frame rate",
  damaged: "Damaged frames",
  dynamic_range: "Dynamic range",
};

export const LEVELS = {
  good: ["Good", "Nothing to improve."],
  warn: ["Usable", "An avatar is made of it. What is marked below would make it better."],
  refuse: ["Refused", "No avatar can be made of it. Change what is marked below and film again."],
};

/** Figures about an avatar: name, unit, digits, what it means. */
export const METRICS = {
  held_out_psnr_db: ["Likeness (PSNR)", "dB", 1, "How close rendered frames come to filmed ones that training never saw. Above 30 dB is good."],
  expression_reconstruction_rms: ["Expression error", "", 3, "How closely brows and lids can be reproduced; 0 is exact."],
};

export const PRESETS = {
  demo: ["Demo", "A first look in a couple of minutes. Softer, for trying things out."],
  standard: ["Standard", "The usual choice: about seven minutes on two CPU cores."],
  best: ["Best", "Three times as long, for a little more detail."],
};

export const EXPRESSIONS = {
  auto: ["Automatic", "By the voice where the avatar has learnt it"],
  natural: ["Natural", "Brows and lids go with the voice"],
  calm: ["Calm", "The same, smaller"],
  emphatic: ["Emphatic", "The same, larger"],
  neutral: ["Neutral", "Blinks only"],
  source: ["As filmed", "Brows and lids of the footage"],
};

export const BACKGROUNDS = {
  source: ["As filmed", "The person's own background"],
  colour: ["Colour", "One plain colour"],
  image: ["Picture", "An image of yours"],
  transparent: ["None", "Transparent, for editing"],
};

export const QUEUES = { preprocess: "Prepare footage", train: "Train avatars", dub: "Dub" };
