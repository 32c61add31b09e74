//go:build !linux

package postgres

import (
	"os"
	"os/exec"
)

// quit is how to stop PostgreSQL at once.
var quit = os.Kill

// account is the account that PostgreSQL runs under: this process's.
type account struct{}

func unprivileged() (account, error) { return account{}, nil }

func (account) own(string) error { return nil }

func (account) apply(*exec.Cmd) {}
