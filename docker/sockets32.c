/* glibc's socket functions on i386 by the kernel's direct calls, for every program of an i686 image (ld.so.preload).
 *
 * glibc makes them through socketcall(2), whose arguments lie in memory where no filter of system calls sees them: with
 * it a build could have sockets of any family. So containers have no socketcall, and these go past it.
 * Source: Linux 4.3, arch/x86/entry/syscalls/syscall_32.tbl. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name, number, parameters, ...) \
    long name parameters { return syscall(number, __VA_ARGS__); }

CALL(socket, SYS_socket, (int a, int b, int c), a, b, c)
CALL(socketpair, SYS_socketpair, (int a, int b, int c, void *d), a, b, c, d)
CALL(bind, SYS_bind, (int a, void *b, int c), a, b, c)
CALL(connect, SYS_connect, (int a, void *b, int c), a, b, c)
CALL(listen, SYS_listen, (int a, int b), a, b)
CALL(accept, SYS_accept4, (int a, void *b, void *c), a, b, c, 0)
CALL(accept4, SYS_accept4, (int a, void *b, void *c, int d), a, b, c, d)
CALL(getsockname, SYS_getsockname, (int a, void *b, void *c), a, b, c)
CALL(getpeername, SYS_getpeername, (int a, void *b, void *c), a, b, c)
CALL(getsockopt, SYS_getsockopt, (int a, int b, int c, void *d, void *e), a, b, c, d, e)
CALL(setsockopt, SYS_setsockopt, (int a, int b, int c, void *d, int e), a, b, c, d, e)
CALL(send, SYS_sendto, (int a, void *b, int c, int d), a, b, c, d, 0, 0)
CALL(sendto, SYS_sendto, (int a, void *b, int c, int d, void *e, int f), a, b, c, d, e, f)
CALL(sendmsg, SYS_sendmsg, (int a, void *b, int c), a, b, c)
CALL(recv, SYS_recvfrom, (int a, void *b, int c, int d), a, b, c, d, 0, 0)
CALL(recvfrom, SYS_recvfrom, (int a, void *b, int c, int d, void *e, void *f), a, b, c, d, e, f)
CALL(recvmsg, SYS_recvmsg, (int a, void *b, int c), a, b, c)
CALL(shutdown, SYS_shutdown, (int a, int b), a, b)
