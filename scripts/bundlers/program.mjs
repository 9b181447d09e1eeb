import { nn, optim, randn, Tensor, Trainer } from 'fused-rnn'

async function main() {
  const layer = new nn.LSTM(3, 4)
  const optimizer = new optim.Adam(layer.parameters(), { lr: 0.01 })
  const x = randn([5, 2, 3])
  let first
  let last
  for (let step = 0; step < 20; step++) {
    const [y] = layer.forward(x)
    const loss = y.mul(y).mean()
    last = await loss.item()
    first ??= last
    optimizer.zeroGrad()
    loss.backward()
    await optimizer.step()
  }
  new Trainer({ maxEpochs: 1 })
  if (!(last < first) || !(x instanceof Tensor)) throw new Error(`${first} → ${last}`)
  console.log('learnt')
}

void main()
