// For files that include it: all there is comes with cuda_on_host.h.
#pragma once
