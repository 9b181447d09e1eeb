// Functions of glibc by the names that 2.28 has for them, so that an addon built on a newer system
// loads in every system that Node has programs for. The linker gives all calls of NAME, those of
// libstdc++ inside the addon too, to __wrap_NAME (CMakeLists.txt, FUSED_RNN_OLDER_GLIBC). Newer
// versions of glibc keep the old names. scripts/addon-needs.mjs says what an addon asks for.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cstdlib>
#include <ctime>

#if defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
constexpr int kStatVersion = 0;
#else
#define OLDEST "GLIBC_2.2.5"
constexpr int kStatVersion = 1;
#endif

// Declares old_NAME, the oldest NAME of glibc, and defines what stands in for NAME.
#define OLDER(result, name, parameters, arguments)    \
  __asm__(".symver old_" #name "," #name "@" OLDEST); \
  result old_##name parameters;                       \
  result __wrap_##name parameters { return old_##name arguments; }

extern "C" {

// What 2.29 changed is errno.
OLDER(double, exp, (double x), (x))
OLDER(double, log, (double x), (x))
OLDER(double, pow, (double x, double y), (x, y))

// 2.34 moved these from libraries of their own, which Node opens, to libc.
OLDER(void*, dlopen, (const char* file, int mode), (file, mode))
OLDER(void*, dlsym, (void* library, const char* name), (library, name))
OLDER(char*, dlerror, (), ())
OLDER(int, pthread_create,
      (pthread_t * thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument),
      (thread, attributes, start, argument))
OLDER(int, pthread_detach, (pthread_t thread), (thread))
OLDER(int, pthread_join, (pthread_t thread, void** result), (thread, result))
OLDER(int, pthread_once, (pthread_once_t * once, void (*run)()), (once, run))
OLDER(int, pthread_key_create, (pthread_key_t * key, void (*end)(void*)), (key, end))
OLDER(int, pthread_key_delete, (pthread_key_t key), (key))
OLDER(void*, pthread_getspecific, (pthread_key_t key), (key))
OLDER(int, pthread_setspecific, (pthread_key_t key, const void* value), (key, value))

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
