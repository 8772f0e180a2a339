// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package peers pins the peers that the wire tests build from Go modules.
package peers

import _ "github.com/summerwind/h2spec/cmd/h2spec"
