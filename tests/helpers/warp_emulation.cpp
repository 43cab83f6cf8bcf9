// The warp reduction of cuda/accumulate.h with one thread of the CPU for each lane: the intrinsics exchange
// their values through memory, between two barriers.
#define DR_WARP_EMULATION
#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>

static thread_local struct {
  unsigned x;
} threadIdx;
static unsigned g_active;
static pthread_barrier_t g_barrier;
static unsigned long long g_slot[32];

struct Slots {
  unsigned long long of[32];
};

static Slots exchange(unsigned long long mine) {
  Slots all;
  g_slot[threadIdx.x] = mine;
  pthread_barrier_wait(&g_barrier);
  std::memcpy(all.of, g_slot, sizeof(g_slot));
  pthread_barrier_wait(&g_barrier);
  return all;
}
static unsigned __activemask() {
  return g_active;
}
static unsigned __match_any_sync(unsigned mask, unsigned long long key) {
  const Slots all = exchange(key);
  unsigned same = 0;
  for (int k = 0; k < 32; ++k)
    if (mask >> k & 1 && all.of[k] == key) same |= 1u << k;
  return same;
}
static unsigned __ballot_sync(unsigned mask, bool value) {
  const Slots all = exchange(value);
  unsigned bits = 0;
  for (int k = 0; k < 32; ++k)
    if (mask >> k & 1 && all.of[k]) bits |= 1u << k;
  return bits;
}
static bool __any_sync(unsigned mask, bool value) {
  return __ballot_sync(mask, value) != 0;
}
template <typename T>
static T __shfl_sync(unsigned, T value, int lane) {
  unsigned long long mine = 0;
  std::memcpy(&mine, &value, sizeof(T));
  const Slots all = exchange(mine);
  T other;
  std::memcpy(&other, &all.of[lane], sizeof(T));
  return other;
}
static int __ffs(unsigned bits) {
  return __builtin_ffs((int)bits);
}
static int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}

#include "common.h"

// key, value, sum, leader: [32]
extern "C" void reduce(unsigned active, const i64* key, const float* value, float* sum, int* leader) {
  g_active = active;
  pthread_barrier_init(&g_barrier, nullptr, (unsigned)__popc(active));
  std::vector<std::thread> lanes;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(active >> lane & 1)) continue;
    lanes.emplace_back([=] {
      threadIdx.x = lane;
      const Peers peers = peers_of(key[lane]);
      sum[lane] = peers.sum(value[lane]);
      leader[lane] = peers.leader;
    });
  }
  for (std::thread& lane : lanes) lane.join();
  pthread_barrier_destroy(&g_barrier);
}
