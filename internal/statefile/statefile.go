// Package statefile keeps what a process wants to find again after a crash in a file: a JSON document with a
// checksum, which is replaced as a whole. Whoever reads it finds the old one or the new one.
package statefile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// file is the document: what is saved, and a sum that finds a torn or edited one.
type file struct {
	Sum   string          `json:"sha256"`
	State json.RawMessage `json:"state"`
}

// Write replaces the file at path by one with state. The directory has to be there, and writable.
func Write(path string, state any) (err error) {
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	data, err := json.Marshal(file{Sum: sum(raw), State: raw})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Read fills state from the file at path. That there is none is fs.ErrNotExist.
func Read(path string, state any) error {
	info, err := os.Stat(path) // Opening a pipe could wait for ever.
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	if f.Sum != sum(f.State) {
		return errors.New("it is damaged: its checksum is not that of its content")
	}
	if err := json.Unmarshal(f.State, state); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	return nil
}

func sum(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
