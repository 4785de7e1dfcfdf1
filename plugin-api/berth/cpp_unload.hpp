// cpp_unload.hpp: lets a plugin in C++ be unloaded without a rest. Include it once, anywhere in the plugin.
//
// MinGW's libstdc++, linked into a DLL (-static), takes about 70 KiB when it is loaded, for exceptions that are
// thrown when memory is short, and does not give them back when the DLL is unloaded: each restart of the plugin
// would leave them behind. So they are given back last, when the DLL's static objects end. Where libstdc++ is a
// library of its own, or is not there, nothing is done.
#ifndef BERTH_CPP_UNLOAD_HPP
#define BERTH_CPP_UNLOAD_HPP

#include <cstddef> // which says whose library it is

#if defined(__MINGW32__) && defined(__GLIBCXX__)

namespace __gnu_cxx {
void __freeres() __attribute__((__weak__)); // not in the DLL of libstdc++, which others use, too
}

namespace {
struct berth_emergency_pool_end {
    ~berth_emergency_pool_end() {
        if (__gnu_cxx::__freeres) {
            __gnu_cxx::__freeres();
        }
    }
};
// Static objects end in the reverse order, and those of a priority after all others.
__attribute__((__init_priority__(101))) berth_emergency_pool_end berth_emergency_pool_end_;
} // namespace

#endif

#endif
