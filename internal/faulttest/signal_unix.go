//go:build unix

package faulttest

import "syscall"

func pause(pid int) error  { return syscall.Kill(pid, syscall.SIGSTOP) }
func resume(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
func kill(pid int) error   { return syscall.Kill(pid, syscall.SIGKILL) }
func stop(pid int) error   { return syscall.Kill(pid, syscall.SIGTERM) }
