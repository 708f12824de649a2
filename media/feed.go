package media

import (
	"fmt"
	"sync"
)

// feed is a publication as it is present on this node: its own publisher's, or
// one that a relay brings.
type feed struct {
	pub    Publication
	layers [][]*layer // by track, then by layer; never changed
	data   fanout

	end  sync.Once
	done chan struct{}
	why  error // set before done is closed
}

func newFeed(pub Publication, g *group, n *network) *feed {
	f := &feed{pub: pub, layers: make([][]*layer, len(pub.Tracks)), done: make(chan struct{})}
	for i, t := range pub.Tracks {
		codec := formatOf(t.Codec)
		for range t.Layers {
			l := newLayer(t.Kind, g, n)
			if codec != nil { // of another node's publication it may be unknown here, and goes to nobody
				l.begins = codec.begins
			}
			f.layers[i] = append(f.layers[i], l)
		}
	}
	return f
}

// finish marks the end of the publication; the first cause counts.
func (f *feed) finish(cause error) {
	f.end.Do(func() {
		f.why = cause
		close(f.done)
		for _, layers := range f.layers {
			for _, l := range layers {
				if l.voice != nil {
					l.voice.leave()
				}
			}
		}
	})
}

func (f *feed) cause() error {
	select {
	case <-f.done:
		return f.why
	default:
		return nil
	}
}

func (f *feed) layer(track, index uint8) (*layer, error) {
	if int(track) >= len(f.layers) || int(index) >= len(f.layers[track]) {
		return nil, fmt.Errorf("%w: track %d, layer %d", ErrNotFound, track, index)
	}
	return f.layers[track][index], nil
}

func (f *feed) attach(track, index uint8, sink Sink) (*Attachment, error) {
	l, err := f.layer(track, index)
	if err != nil {
		return nil, err
	}
	return l.attach(sink), nil
}
