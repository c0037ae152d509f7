#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace synctalk {
namespace {

struct Loop {
  const std::function<void(int64_t)>* body;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int> active{0};  // helpers inside work()
  std::mutex mutex;
  std::condition_variable idle;

  void work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) (*body)(i);
  }
};

class Pool {
 public:
  void help(const std::shared_ptr<Loop>& loop, int helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < helpers; ++i) loops_.push_back(loop);
      // Enough threads for all loops in flight, each started once and kept.
      while (started_ < kMaxThreads && idle_ + starting_ < int(loops_.size())) {
        ++started_;
        ++starting_;
        std::thread([this] { serve(); }).detach();
      }
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
  }

  // Takes back the invitations nobody has taken up.
  void withdraw(const Loop* loop) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = loops_.begin(); it != loops_.end();)
      it = it->get() == loop ? loops_.erase(it) : it + 1;
  }

 private:
  static constexpr int kMaxThreads = 256;

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    --starting_;
    for (;;) {
      ++idle_;
      wake_.wait(lock, [this] { return !loops_.empty(); });
      --idle_;
      const std::shared_ptr<Loop> loop = std::move(loops_.front());
      loops_.pop_front();
      loop->active.fetch_add(1);  // under the mutex: withdraw() sees it or the invitation
      lock.unlock();
      loop->work();
      {
        std::lock_guard<std::mutex> done(loop->mutex);
        loop->active.fetch_sub(1);
      }
      loop->idle.notify_one();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Loop>> loops_;
  int started_ = 0, starting_ = 0, idle_ = 0;
};

// Never destroyed: its threads outlive static destruction. A forked child starts with a new,
// empty pool, because threads do not survive fork.
Pool* g_pool = nullptr;

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_pool = new Pool;
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { g_pool = new Pool; });
#endif
  });
  return *g_pool;
}

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& body) {
  const int64_t most = count < threads ? count : threads;
  if (most <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto loop = std::make_shared<Loop>();
  loop->body = &body;
  loop->count = count;
  Pool& helpers = pool();
  helpers.help(loop, int(most) - 1);
  loop->work();
  helpers.withdraw(loop.get());
  // Helpers finish the item they are at; mostly they are done already.
  for (int spin = 0; spin < 200 && loop->active.load() > 0; ++spin) std::this_thread::yield();
  std::unique_lock<std::mutex> lock(loop->mutex);
  loop->idle.wait(lock, [&] { return loop->active.load() == 0; });
}

}  // namespace synctalk
