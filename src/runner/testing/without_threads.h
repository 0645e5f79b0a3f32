// A process that gets no further threads, for as long as this lives.
#pragma once

#include <pthread.h>

#include <cstddef>

#include "base/assert.h"

namespace exomesh::runner::testing {

class WithoutThreads {
  public:
    WithoutThreads() {
        EXO_ASSERT(::pthread_getattr_default_np(&before_) == 0);
        pthread_attr_t attributes{};
        EXO_ASSERT(::pthread_getattr_default_np(&attributes) == 0);
        // A stack as large as all memory that a program can see.
        EXO_ASSERT(::pthread_attr_setstacksize(&attributes, std::size_t{1} << 47) == 0);
        EXO_ASSERT(::pthread_setattr_default_np(&attributes) == 0);
        ::pthread_attr_destroy(&attributes);
    }
    WithoutThreads(const WithoutThreads&) = delete;
    WithoutThreads& operator=(const WithoutThreads&) = delete;
    ~WithoutThreads() {
        ::pthread_setattr_default_np(&before_);
        ::pthread_attr_destroy(&before_);
    }

  private:
    pthread_attr_t before_{};
};

}  // namespace exomesh::runner::testing
