// Lets OpenMP's other threads sleep while this one needs the processor for something else. Between two loops
// they wait by spinning, for milliseconds, and take the cores from a renderer that draws on the processor.
#include <mutex>

// Calls `work` on this thread. The other workers stay what they are, but wait for a lock until it returns.
extern "C" __attribute__((visibility("default"))) void while_asleep(void (*work)(), int workers) {
  std::mutex working;
  working.lock();
#pragma omp parallel num_threads(workers) if (workers > 1)
  {
#pragma omp master
    {
      work();
      working.unlock();
    }
    std::lock_guard<std::mutex> until_then(working);
  }
}
