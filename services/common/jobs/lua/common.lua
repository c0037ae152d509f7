-- Prepended to every script of this folder. Each script runs as one atomic step in Redis.
-- KEYS[1] is the queue's prefix, such as "jobs:{train}:": the hash tag keeps all keys of a queue
-- on one node of a Redis Cluster. Time is the server's: workers' clocks need not agree.
local P = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local EVENTS_KEPT = 10000
local ATTEMPTS_KEPT = 50
local TERMINAL = {succeeded = true, failed = true, cancelled = true, dead = true}

local function job_key(id) return P .. 'job:' .. id end

local function get(id, field) return redis.call('HGET', job_key(id), field) end

local function count(name) redis.call('HINCRBY', P .. 'counters', name, 1) end

-- Everything about a job but its payload, flat: what a watcher sees.
local function view(id)
  local all, seen = redis.call('HGETALL', job_key(id)), {}
  for i = 1, #all, 2 do
    if all[i] ~= 'payload' then
      seen[#seen + 1] = all[i]
      seen[#seen + 1] = all[i + 1]
    end
  end
  return seen
end

local function emit(id)
  redis.call('HINCRBY', job_key(id), 'revision', 1)
  redis.call('HSET', job_key(id), 'updated_ms', now)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', unpack(view(id)))
end

-- A job is in exactly one of the sets state:*.
local function enter(id, state, score)
  local old = get(id, 'state')
  if old then redis.call('ZREM', P .. 'state:' .. old, id) end
  redis.call('HSET', job_key(id), 'state', state)
  redis.call('ZADD', P .. 'state:' .. state, score, id)
end

-- A tenant with ready jobs takes a place at the end of the ring, unless it has one.
local function join_ring(tenant)
  if redis.call('EXISTS', P .. 'ready:' .. tenant) == 1
      and not redis.call('ZSCORE', P .. 'ring', tenant) then
    redis.call('ZADD', P .. 'ring', redis.call('INCR', P .. 'turn'), tenant)
  end
end

-- seq is the order of arrival: a retried job goes before younger ones of its tenant.
local function make_ready(id)
  local tenant = get(id, 'tenant')
  enter(id, 'queued', now)
  redis.call('ZADD', P .. 'ready:' .. tenant, get(id, 'seq'), id)
  join_ring(tenant)
  redis.call('LPUSH', P .. 'wake', 1)
  redis.call('LTRIM', P .. 'wake', 0, 63)
end

-- The fence: true for the one attempt that holds the job.
local function held(id, attempt)
  return get(id, 'state') == 'running' and get(id, 'attempt') == attempt
end

local function end_attempt(id, outcome, reason, message)
  local fields = redis.call('HMGET', job_key(id), 'tenant', 'worker', 'attempt', 'started_ms')
  redis.call('HDEL', P .. 'holders', fields[2])
  if redis.call('HINCRBY', P .. 'running', fields[1], -1) <= 0 then
    redis.call('HDEL', P .. 'running', fields[1])
  end
  redis.call('HSET', job_key(id), 'worker', '')
  redis.call('RPUSH', job_key(id) .. ':attempts', cjson.encode({
    attempt = tonumber(fields[3]), worker = fields[2], started_ms = tonumber(fields[4]),
    ended_ms = now, outcome = outcome, reason = reason, message = message,
  }))
  redis.call('LTRIM', job_key(id) .. ':attempts', -ATTEMPTS_KEPT, -1)
  join_ring(fields[1])  -- below its limit again
  redis.call('LPUSH', P .. 'wake', 1)
  redis.call('LTRIM', P .. 'wake', 0, 63)
end

local function conclude(id, state)
  enter(id, state, now)
  redis.call('HSET', job_key(id), 'finished_ms', now)
  redis.call('ZADD', P .. 'sweep', now, id)
  count(state)
end

local function blame(id, reason, message, remedy)
  redis.call('HSET', job_key(id), 'reason', reason, 'message', message, 'remedy', remedy)
end

-- Wait base * 2^(failures - 1), at most cap, of which the upper half is jitter; or give up.
local function retry_or_die(id, base_ms, cap_ms, jitter)
  local failures = redis.call('HINCRBY', job_key(id), 'failures', 1)
  if failures >= tonumber(get(id, 'max_attempts')) then
    conclude(id, 'dead')
  else
    local delay = math.min(tonumber(cap_ms), tonumber(base_ms) * 2 ^ (failures - 1))
    enter(id, 'waiting', now + math.floor(delay * (0.5 + 0.5 * tonumber(jitter))))
    count('retried')
  end
end

local function forget(id)
  local fields = redis.call('HMGET', job_key(id), 'tenant', 'state', 'idempotency_key')
  redis.call('ZREM', P .. 'tenant:' .. fields[1], id)
  redis.call('ZREM', P .. 'state:' .. fields[2], id)
  redis.call('ZREM', P .. 'sweep', id)
  local idem = P .. 'idem:' .. fields[1] .. ':' .. fields[3]
  if redis.call('GET', idem) == id then redis.call('DEL', idem) end
  redis.call('DEL', job_key(id), job_key(id) .. ':log', job_key(id) .. ':attempts')
end
