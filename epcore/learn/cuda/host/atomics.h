// Atomic operations: fibers switch at barriers only, so a plain read and write is one. Under watch.cpp they are told to it.
#pragma once
#ifndef COH_WATCHED
#define COH_TELL_ATOMIC(p) (void)0
#endif

#define COH_ATOMIC(name, result)                     \
  template <class T>                                 \
  COH_SCHEDULER __attribute__((noinline)) static T name(T* p, std::common_type_t<T> v) { \
    COH_TELL_ATOMIC(p);                              \
    const T old = *p;                                \
    *p = result;                                     \
    return old;                                      \
  }
COH_ATOMIC(atomicAdd, old + v)
COH_ATOMIC(atomicSub, old - v)
COH_ATOMIC(atomicExch, v)
COH_ATOMIC(atomicMin, v < old ? v : old)
COH_ATOMIC(atomicMax, old < v ? v : old)
#undef COH_ATOMIC
