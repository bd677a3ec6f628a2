package tunnel

import (
	"runtime"

	"golang.org/x/sys/cpu"

	"openmpa/tunnel/esp"
)

// Suites are what a security association may be made of, in the order in which the
// processor of this machine likes them: ChaCha20-Poly1305 first where it has no
// instructions for AES and GCM.
func Suites() []esp.Transform { return esp.Transforms(fastAES()) }

// fastAES says whether crypto/aes uses the processor's own instructions.
func fastAES() bool {
	switch runtime.GOARCH {
	case "amd64", "386":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESCTR && cpu.S390X.HasGHASH
	case "ppc64", "ppc64le":
		return true // from POWER8 on, which Go needs
	}
	return false
}
