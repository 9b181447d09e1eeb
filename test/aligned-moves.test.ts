/** scripts/check-aligned-moves.mjs: which instructions must not be in what is built for Windows. */
import test from 'ava'
import { onCpu } from './helpers.js'

const script = new URL('../scripts/check-aligned-moves.mjs', import.meta.url).href
const { isAlignedMove } = (await import(script)) as { isAlignedMove(line: string): boolean }

;(onCpu ? test : test.skip)('aligned moves of wide vectors are told from others', (t) => {
  for (const line of [
    '   18004: vmovaps %ymm6,0x40(%rsp)',
    '   18004: vmovapd %zmm16,-0x40(%rbp)',
    '   18004: vmovdqa 0x20(%rsp,%rax,8),%ymm1',
    '   18004: vmovdqa64 0x40(%rcx),%zmm0',
    '   18004: vmovdqa32 %zmm0,(%rax){%k1}',
    '   18004: vmovntps %zmm0,(%rax)',
  ])
    t.true(isAlignedMove(line), line)
  for (const line of [
    '   18004: vmovups %ymm6,0x40(%rsp)',
    '   18004: vmovdqu64 %zmm6,0x40(%rsp)',
    '   18004: vmovaps %xmm6,0x40(%rsp)',
    '   18004: movaps %xmm6,0x40(%rsp)',
    '   18004: vmovaps %ymm6,%ymm7',
    '   18004: vaddps 0x40(%rsp),%ymm6,%ymm7',
  ])
    t.false(isAlignedMove(line), line)
})
