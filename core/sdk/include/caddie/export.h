// Visibility: everything is hidden unless marked. Classes whose type crosses a library boundary carry CADDIE_API.
#pragma once

#define CADDIE_API __attribute__((visibility("default")))
