//go:build !linux

package e2e

import (
	"encoding/json"
	"errors"
)

// beFloor and its like: what a node costs is measured on Linux only.
func beFloor(*json.Decoder, *json.Encoder) error { return errors.ErrUnsupported }

func beTalkFloor(*json.Decoder, *json.Encoder) error { return errors.ErrUnsupported }

func beJoinFloor(*json.Decoder, *json.Encoder) error { return errors.ErrUnsupported }
