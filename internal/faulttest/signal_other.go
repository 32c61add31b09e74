//go:build !unix

package faulttest

import "errors"

func pause(int) error  { return errors.ErrUnsupported }
func resume(int) error { return errors.ErrUnsupported }
func kill(int) error   { return errors.ErrUnsupported }
func stop(int) error   { return errors.ErrUnsupported }
