package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoConsul is returned by FindConsul and StartConsul when there is no consul.
var ErrNoConsul = errors.New("no consul in .tools or on PATH; build it with `make consul`, or name one in SLUICE_CONSUL")

// consulBinary is what `make consul` leaves in .tools; its version is the one in tools/consul/go.mod.
const consulBinary = "consul-1.9.17"

// FindConsul returns the path of the consul that SLUICE_CONSUL names, else of the one that `make consul` has built, else
// of the one on PATH. A SLUICE_CONSUL that names nothing that runs is an error.
func FindConsul() (string, error) {
	if named := os.Getenv("SLUICE_CONSUL"); named != "" {
		path, err := lookAbs(named)
		if err != nil {
			return "", fmt.Errorf("SLUICE_CONSUL: %w; unset it and run `make consul`", err)
		}
		return path, nil
	}
	if root := moduleRoot(); root != "" {
		if path, err := lookAbs(filepath.Join(root, ".tools", consulBinary)); err == nil {
			return path, nil
		}
	}
	path, err := lookAbs("consul")
	if err != nil {
		return "", ErrNoConsul
	}
	return path, nil
}

// consulMinor is the y in the version 1.y.z of the consul at path.
func consulMinor(ctx context.Context, path string) (int, error) {
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return 0, fmt.Errorf("%s version: %w", path, err)
	}
	var minor int
	if _, err := fmt.Sscanf(string(out), "Consul v1.%d", &minor); err != nil {
		return 0, fmt.Errorf("%s version: %w in %.60q, want Consul 1.x", path, err, out)
	}
	return minor, nil
}

// lookAbs is exec.LookPath with an absolute result: servers are started in directories of their own.
func lookAbs(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// moduleRoot is the nearest directory with a go.mod at or above the working directory, "" when there is none.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
