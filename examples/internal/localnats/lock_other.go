//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package localnats

import "os"

// tryLock locks nothing here: the standard library has no lock that ends with
// the process on these systems. It is up to the user to run one program at a
// time on a directory.
func tryLock(*os.File) (taken bool, err error) { return true, nil }
