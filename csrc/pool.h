// Threads that help a caller with a loop. The caller always works too and never waits for a
// helper that has not begun: a busy machine slows a loop down, it cannot stall it.
#pragma once

#include <cstdint>
#include <functional>

namespace synctalk {

// Calls body(i) once for each i in [0, count), on the calling thread and up to threads - 1
// helpers. Any number of threads may call this at once. With threads == 1 nothing leaves the
// caller. body must not throw.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& body);

}  // namespace synctalk
