// Functions of glibc by the names that 2.28 has for them, so that an addon built on a newer system
// loads in every system that Node has programs for. The linker gives all calls of NAME, those of
// libstdc++ and of CUDA's runtime inside the addon too, to __wrap_NAME (CMakeLists.txt takes the names
// from this file). Newer versions of glibc keep the old names. scripts/addon-needs.mjs says what an
// addon asks for.
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cstdlib>
#include <ctime>

#if defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#define OF_2_3_4 OLDEST
#define JUMP_TO(name) "b " name
constexpr int kStatVersion = 0;
#else
#define OLDEST "GLIBC_2.2.5"
#define OF_2_3_4 "GLIBC_2.3.4"
#define JUMP_TO(name) "jmp " name "@PLT"
constexpr int kStatVersion = 1;
#endif

// __wrap_NAME goes on to NAME of that version. A section for each: what is not called is not linked.
#define OLDER_OF(name, version) \
  __asm__(".pushsection .text.older." #name ",\"ax\",%progbits\n" \
          ".symver old_" #name "," #name "@" version "\n"      \
          ".globl __wrap_" #name "\n"                          \
          ".hidden __wrap_" #name "\n"                         \
          ".type __wrap_" #name ",%function\n"                 \
          "__wrap_" #name ": " JUMP_TO("old_" #name) "\n"      \
          ".size __wrap_" #name ", . - __wrap_" #name "\n"     \
          ".popsection");
#define OLDER(name) OLDER_OF(name, OLDEST)

// What 2.29 changed is errno.
OLDER(exp)
OLDER(log)
OLDER(pow)

// 2.34 moved these to libc from libraries of their own.
OLDER(dlopen)
OLDER_OF(dlmopen, OF_2_3_4)
OLDER(dlclose)
OLDER(dlsym)
OLDER(dlvsym)
OLDER(dlerror)
OLDER(pthread_create)
OLDER(pthread_detach)
OLDER(pthread_join)
OLDER(pthread_kill)
OLDER(pthread_once)
OLDER(pthread_key_create)
OLDER(pthread_key_delete)
OLDER(pthread_getspecific)
OLDER(pthread_setspecific)
OLDER(pthread_mutex_trylock)
OLDER(pthread_mutexattr_init)
OLDER(pthread_mutexattr_destroy)
OLDER(pthread_mutexattr_settype)
OLDER(pthread_mutexattr_setpshared)
OLDER(pthread_condattr_setpshared)
OLDER(pthread_rwlock_init)
OLDER(pthread_rwlock_destroy)
OLDER(pthread_rwlock_rdlock)
OLDER(pthread_rwlock_wrlock)
OLDER(pthread_rwlock_tryrdlock)
OLDER(pthread_rwlock_trywrlock)
OLDER(pthread_rwlock_timedrdlock)
OLDER(pthread_rwlock_timedwrlock)
OLDER(pthread_rwlock_unlock)
OLDER(pthread_rwlockattr_init)
OLDER(pthread_rwlockattr_destroy)
OLDER(pthread_rwlockattr_setpshared)
OLDER(pthread_spin_init)
OLDER(pthread_spin_destroy)
OLDER(pthread_spin_lock)
OLDER(pthread_spin_trylock)
OLDER(pthread_spin_unlock)
OLDER(sem_init)
OLDER(sem_destroy)
OLDER(sem_wait)
OLDER(sem_trywait)
OLDER(sem_timedwait)
OLDER(sem_post)
OLDER(shm_open)
OLDER(shm_unlink)

extern "C" {

// Before 2.33, an inline function of the header called this.
int __fxstat64(int version, int file, struct stat64* status);
int __wrap_fstat64(int file, struct stat64* status) {
  return __fxstat64(kStatVersion, file, status);
}

// 2.30 has it. Before, one could wait by the time of day alone; what is woken too early or too
// late, because that was set meanwhile, looks at its own clock.
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const struct timespec* until) {
  constexpr long kSecond = 1'000'000'000;
  timespec now, today;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &today);
  today.tv_sec += until->tv_sec - now.tv_sec;
  today.tv_nsec += until->tv_nsec - now.tv_nsec;
  if (today.tv_nsec < 0) {
    today.tv_nsec += kSecond;
    today.tv_sec -= 1;
  } else if (today.tv_nsec >= kSecond) {
    today.tv_nsec -= kSecond;
    today.tv_sec += 1;
  }
  return pthread_cond_timedwait(condition, mutex, &today);
}

// 2.36 has it, for std::random_device.
unsigned __wrap_arc4random() {
  unsigned value = 0;
  if (getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return value;
}

// 2.32 has it, for libstdc++: whether counters need no atomic instructions. They may always have them.
char __libc_single_threaded = 0;

}  // extern "C"
