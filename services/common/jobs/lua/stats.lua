-- Reply: {{state, jobs, age of the oldest in ms}, ..., {event, times}, ...}. Age counts from when
-- a job became ready, or began to run.
local rows = {}
for _, state in ipairs({'queued', 'waiting', 'running', 'succeeded', 'failed', 'cancelled', 'dead'}) do
  local oldest = now
  if state == 'queued' then
    oldest = redis.call('ZRANGE', P .. 'state:queued', 0, 0, 'WITHSCORES')[2] or now
  elseif state == 'running' then
    for _, id in ipairs(redis.call('ZRANGE', P .. 'state:running', 0, -1)) do
      oldest = math.min(oldest, tonumber(get(id, 'started_ms')))
    end
  end
  rows[#rows + 1] = {state, redis.call('ZCARD', P .. 'state:' .. state), now - oldest}
end
local counters = redis.call('HGETALL', P .. 'counters')
for i = 1, #counters, 2 do
  rows[#rows + 1] = {counters[i], tonumber(counters[i + 1])}
end
return rows
