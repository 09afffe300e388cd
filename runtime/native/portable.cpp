// What libstdc++, linked in (PPC_PORTABLE), would ask of a glibc newer than wheels are for.

extern "C" {

// By this glibc 2.32 tells whether there is one thread alone, for which references may be counted without a lock.
// There are several.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

}
