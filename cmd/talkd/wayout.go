package main

import (
	"errors"
	"io/fs"
	"syscall"
)

// wayOut is what to do about a file, if it is one that is in the way.
func wayOut(err error) string {
	var file *fs.PathError
	switch {
	case !errors.As(err, &file):
	case errors.Is(file, fs.ErrNotExist):
		return "; is the path right?"
	case errors.Is(file, fs.ErrPermission):
		return "; do it as root, or as the owner of " + file.Path
	case errors.Is(file, syscall.EISDIR):
		return "; name a file in it"
	}
	return ""
}
