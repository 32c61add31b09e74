package faulttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// serverPackage is built into the program that the tests start.
const serverPackage = "github.com/nats-io/nats-server/v2"

// serverBinary builds nats-server, of the version that go.mod names, once a run.
// The directory is left to the operating system's temporary files only where the
// run is killed.
var serverBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tributary-nats-server-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, serverPackage).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building nats-server: %w: %s", err, out)
	}
	builtIn = dir
	return path, nil
})

var builtIn string

// RemoveBinary removes what was built. It is for the end of TestMain.
func RemoveBinary() {
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
}
