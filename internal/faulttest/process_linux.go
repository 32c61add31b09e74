package faulttest

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the child killed when this process ends, however it does.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
