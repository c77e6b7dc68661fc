# The reader's tests make compressed files with the libraries themselves.
find_package(ZLIB REQUIRED)
find_package(LibLZMA REQUIRED)
set(room_libraries ZLIB::ZLIB LibLZMA::LibLZMA ${CADDIE_ZSTD})
