-- ARGV: worker, lease_ms, tenant_limit
-- Reply: the whole job, flat, or false. The tenant at the head of the ring is served its oldest
-- job and goes to the end; a tenant at its limit leaves the ring until one of its jobs ends.
local worker, lease_ms, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- A worker holds one job. If it asks again, the reply of the first time was lost on the way.
local mine = redis.call('HGET', P .. 'holders', worker)
if mine and get(mine, 'state') == 'running' and get(mine, 'worker') == worker then
  redis.call('ZADD', P .. 'state:running', now + lease_ms, mine)
  return redis.call('HGETALL', job_key(mine))
end

while true do
  local tenant = redis.call('ZPOPMIN', P .. 'ring')[1]
  if not tenant then return false end
  if tonumber(redis.call('HGET', P .. 'running', tenant) or 0) < limit then
    local id = redis.call('ZPOPMIN', P .. 'ready:' .. tenant)[1]
    join_ring(tenant)
    if id then
      redis.call('HINCRBY', P .. 'running', tenant, 1)
      redis.call('HSET', P .. 'holders', worker, id)
      redis.call('HINCRBY', job_key(id), 'attempt', 1)
      redis.call('HSET', job_key(id), 'worker', worker, 'started_ms', now, 'stage', '',
        'fraction', 0, 'eta_s', '', 'metrics', '{}')
      enter(id, 'running', now + lease_ms)
      count('leased')
      emit(id)
      return redis.call('HGETALL', job_key(id))
    end
  end
end
