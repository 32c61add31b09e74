//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package localnats

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks the file unless someone else has, also in this process.
func tryLock(file *os.File) (taken bool, err error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		}
		return err == nil, err
	}
}
