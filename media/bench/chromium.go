//go:build linux

package main

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed chromium.txt
var chromiumSizes string

// chromium is the sizes of RTP packets that a browser sent, by frames. How they
// were got is written in the file.
func chromium() (frames [][]int) {
	for line := range strings.Lines(chromiumSizes) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var sizes []int
		for word := range strings.FieldsSeq(line) {
			n, err := strconv.Atoi(word)
			fatal(err)
			sizes = append(sizes, n)
		}
		frames = append(frames, sizes)
	}
	return frames
}
